select method, status, count(*) as payments, sum(amount) as amount
from bronze.shop_payments
group by method, status
