select
    cast(l.created_at as date) as day,
    count(distinct l.order_id) as orders,
    sum(l.amount) as revenue
from bronze.shop_order_lines l
join bronze.shop_orders o on o.order_id = l.order_id
where o.status <> 'cancelled'
group by cast(l.created_at as date)
