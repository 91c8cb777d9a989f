select
    c.customer_id,
    c.country,
    count(*) as orders,
    sum(o.amount) as revenue,
    min(o.created_at) as first_order_at,
    max(o.created_at) as last_order_at
from bronze.shop_customers c
join bronze.shop_orders o on o.customer_id = c.customer_id
group by c.customer_id, c.country
